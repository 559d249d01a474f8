-- prefix, id, tenant, url: an event of no job, tried once
local id, tenant = ARGV[2], ARGV[3]
post(id, tenant, 'test', ARGV[4], '', '')
schedule(id, tenant, now_ms())
-- Somebody waits for it: it goes before all that is due.
redis.call('ZADD', key('outbox', tenant), 0, id)
