-- prefix, batch, tenant, priority, kind, bound, bound on the tenant's jobs or 0, key of the submission or '', seconds to keep
--   the answer, seconds until its jobs must have started or 0, time to live once over in seconds or 0, metadata, then
--   custom id, job id and spec of each job
--   -> {'created' | 'exists', snapshot} | {'full'} | {'tenant full'} | {'superseded'}
-- All of the jobs are queued or none. The same batch again changes nothing.
local batch, tenant, priority, kind, bound = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local own_bound, name, keep_s = tonumber(ARGV[7]), ARGV[8], ARGV[9]
local deadline_s, ttl_s, first = tonumber(ARGV[10]), tonumber(ARGV[11]), 13
local submission = name ~= '' and key('submission', tenant, name)
if redis.call('HGET', key('batch', batch), 'tenant') == tenant then return {'exists', batch_snapshot(batch)} end
if submission and redis.call('HGET', submission, 'id') ~= batch then return {'superseded'} end
local count = (#ARGV - first + 1) / 3
if redis.call('ZCARD', key('queued')) + count > bound then return {'full'} end
if own_bound > 0 and redis.call('SCARD', key('active', tenant)) + count > own_bound then return {'tenant full'} end
local items = {}
for at = first, #ARGV, 3 do items[#items + 1] = {ARGV[at], ARGV[at + 1]} end
local sequence = redis.call('INCR', key('sequence'))
redis.call('HSET', key('batch', batch), 'id', batch, 'tenant', tenant, 'items', cjson.encode(items), 'open', count,
  'metadata', ARGV[12], 'created_at', now_ms())
if ttl_s > 0 then redis.call('HSET', key('batch', batch), 'ttl', ttl_s) end
redis.call('ZADD', key('batches', tenant), sequence, batch)
for at = first, #ARGV, 3 do
  create_job(ARGV[at + 1], tenant, priority, ARGV[at + 2], kind, deadline_s, ttl_s, batch)
end
redis.call('ZREM', key('reserved'), tenant .. '/' .. batch)
local created = batch_snapshot(batch)
if submission then
  answer_submission(tenant, name, created, keep_s)
  redis.call('HSET', key('batch', batch), 'submission', name)
end
return {'created', created}
