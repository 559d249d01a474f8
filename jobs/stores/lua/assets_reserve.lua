-- prefix, tenant, tenant/id/copy, milliseconds after which nothing has come of it, bound on the tenant's assets -> 1 | nil
local tenant, now = ARGV[2], now_ms()
redis.call('ZREMRANGEBYSCORE', key('assets', tenant), '-inf', now)
if redis.call('ZCARD', key('assets', tenant)) >= tonumber(ARGV[5]) then return false end
redis.call('ZADD', key('ending'), now + ARGV[4], ARGV[3])
return 1
