-- prefix, id, tenant, milliseconds for which it is kept from now on or 0 -> {asset, end} | nil
local id, tenant, keep_ms = ARGV[2], ARGV[3], tonumber(ARGV[4])
local asset = redis.call('GET', key('asset', tenant, id))
if not asset then return false end
if keep_ms > 0 then return keep_asset(tenant, id, asset, keep_ms) end
return {asset, now_ms() + redis.call('PTTL', key('asset', tenant, id))}
