-- prefix, 'expiring' | 'leftovers' | 'reserved', tenant, id
local kind, tenant, id = ARGV[2], ARGV[3], ARGV[4]
redis.call('ZREM', key(kind), tenant .. '/' .. id)
if kind == 'expiring' then redis.call('ZREM', key('index', tenant), id) end
