-- prefix, tenant, id, secret, seconds for which the older ones go on or -1 for as they are
local tenant, id, overlap_s = ARGV[2], ARGV[3], tonumber(ARGV[5])
local now = now_ms()
if overlap_s >= 0 then
  for _, other in ipairs(redis.call('ZRANGE', key('keyring', tenant), 0, -1)) do
    local ends = tonumber(redis.call('HGET', key('keyring', tenant, other), 'expires_at') or 0)
    if overlap_s == 0 then
      redis.call('DEL', key('keyring', tenant, other))
    elseif ends == 0 or ends > now + overlap_s * 1000 then
      redis.call('HSET', key('keyring', tenant, other), 'expires_at', now + overlap_s * 1000)
      redis.call('PEXPIRE', key('keyring', tenant, other), overlap_s * 1000)
    end
  end
end
redis.call('HSET', key('keyring', tenant, id), 'id', id, 'secret', ARGV[4], 'created_at', now, 'expires_at', 0)
redis.call('ZADD', key('keyring', tenant), now, id)
