-- prefix, id, tenant, retention, tombstone -> as get
-- Queued jobs end at once, running ones are asked to; in every other state nothing changes.
local id, tenant = ARGV[2], ARGV[3]
local owner = field(id, 'tenant')
if owner ~= tenant then
  if not owner and redis.call('GET', key('tomb', id)) == tenant then return 'gone' end
  return false
end
local status = field(id, 'status')
if status == 'queued' then
  leave_line(id, tenant)
  finish(id, 'canceled', tonumber(ARGV[4]), tonumber(ARGV[5]))
elseif status == 'running' then
  redis.call('HSET', key('job', id), 'status', 'canceling')
end
return snapshot(id)
