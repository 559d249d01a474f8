"""The contract between the service and the workers: job records, their store, queue and objects."""
