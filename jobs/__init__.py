"""The contract between the service and the workers.

- `schema`, with `inputs` and `webhooks`: what a job is, and the states that it goes through.
- `stores`: what lies in Redis. Jobs, batches and assets; queue, leases and the outbox of webhooks; keys and secrets.
- `objects`: what lies in the object store, under which keys; `garbage_collector` deletes what no record needs.
- `errors`, `settings`: what can go wrong between the two, and what both have to be configured alike with.
- `logs`, `lifeline`: how a process of either side logs, and ends with its parent. They are no part of the contract and
  here because the service and the workers may not import each other.
"""
