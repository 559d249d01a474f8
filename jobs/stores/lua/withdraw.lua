-- prefix, id, tenant, key of the submission or '', '1' to leave the collector its task
local id, tenant, name = ARGV[2], ARGV[3], ARGV[4]
if ARGV[5] ~= '1' then redis.call('ZREM', key('reserved'), tenant .. '/' .. id) end
if name == '' then return end
local known = redis.call('HMGET', key('submission', tenant, name), 'id', 'answer')
if known[1] == id and not known[2] then redis.call('DEL', key('submission', tenant, name)) end
