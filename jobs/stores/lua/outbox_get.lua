-- prefix, id, tenant -> a delivery as JSON | nil when the tenant has no such
if redis.call('HGET', key('delivery', ARGV[2]), 'tenant') ~= ARGV[3] then return false end
return cjson.encode(shown(ARGV[2]))
