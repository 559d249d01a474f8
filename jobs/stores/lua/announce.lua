-- prefix, worker, presence, ttl_ms
local worker, ttl_ms = ARGV[2], tonumber(ARGV[4])
local now = now_ms()
redis.call('SET', key('worker', worker), ARGV[3], 'PX', ttl_ms)
redis.call('ZADD', key('workers'), now + ttl_ms, worker)
redis.call('ZREMRANGEBYSCORE', key('workers'), '-inf', now)
