-- prefix, 'expiring' | 'leftovers' | 'reserved' | 'ending', tenant, id
local kind, tenant, id = ARGV[2], ARGV[3], ARGV[4]
redis.call('ZREM', key(kind), tenant .. '/' .. id)
if kind == 'expiring' then
  redis.call('ZREM', key('index', tenant), id)
  redis.call('ZREM', key('batches', tenant), id)
end
