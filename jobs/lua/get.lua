-- prefix, id, tenant -> snapshot | 'gone' | nil
local id, tenant = ARGV[2], ARGV[3]
local owner = field(id, 'tenant')
if owner == tenant then return snapshot(id) end
if not owner and redis.call('GET', key('tomb', id)) == tenant then return 'gone' end
return false
