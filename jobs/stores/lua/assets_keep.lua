-- prefix, id, tenant, copy, asset, milliseconds to keep it -> {asset that is kept, end}
-- When there is one already, the object of the new copy is due for the collector.
local id, tenant, copy, keep_ms = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[6])
local known = redis.call('GET', key('asset', tenant, id))
if known and cjson.decode(known).copy_id ~= copy then
  redis.call('ZADD', key('ending'), now_ms(), tenant .. '/' .. id .. '/' .. copy)
end
return keep_asset(tenant, id, known or ARGV[5], keep_ms)
