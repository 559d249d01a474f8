-- prefix, id, digest, tenant, label, scopes, time to live in ms or 0
local id, ttl_ms = ARGV[2], tonumber(ARGV[7])
local now = now_ms()
local ends = ttl_ms > 0 and now + ttl_ms or 0
redis.call('HSET', key('key', id), 'id', id, 'digest', ARGV[3], 'tenant', ARGV[4], 'label', ARGV[5],
  'scopes', ARGV[6], 'created_at', now, 'expires_at', string.format('%.0f', ends))
if ends > 0 then redis.call('PEXPIRE', key('key', id), ttl_ms) end
redis.call('ZADD', key('keys'), now, id)
