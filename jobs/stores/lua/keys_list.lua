-- prefix -> fields of every key, oldest first; the ids of expired ones are dropped on the way
local found = {}
for _, id in ipairs(redis.call('ZRANGE', key('keys'), 0, -1)) do
  local fields = redis.call('HGETALL', key('key', id))
  if #fields > 0 then
    found[#found + 1] = fields
  else
    redis.call('ZREM', key('keys'), id)
  end
end
return found
