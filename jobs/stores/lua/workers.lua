-- prefix -> presences of the workers that spoke up in time
local presences = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), now_ms(), '+inf')) do
  local presence = redis.call('GET', key('worker', worker))
  if presence then presences[#presences + 1] = presence end
end
return presences
