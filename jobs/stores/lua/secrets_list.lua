-- prefix, tenant -> fields of the tenant's secrets, newest first; expired ones are dropped on the way
local found = {}
for _, id in ipairs(redis.call('ZREVRANGE', key('keyring', ARGV[2]), 0, -1)) do
  local fields = redis.call('HGETALL', key('keyring', ARGV[2], id))
  if #fields > 0 then
    found[#found + 1] = fields
  else
    redis.call('ZREM', key('keyring', ARGV[2]), id)
  end
end
return found
