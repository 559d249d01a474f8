-- prefix, id, tenant, copy -> 1 when there was such an asset
-- Until its object is deleted it is among those of the collector.
local id, tenant, copy = ARGV[2], ARGV[3], ARGV[4]
local asset = redis.call('GET', key('asset', tenant, id))
if not asset or cjson.decode(asset).copy_id ~= copy then return 0 end
redis.call('ZREM', key('assets', tenant), id)
redis.call('ZADD', key('ending'), now_ms(), tenant .. '/' .. id .. '/' .. copy)
return redis.call('DEL', key('asset', tenant, id))
