-- prefix, id, tenant, retention, tombstone -> as get
-- Queued jobs end at once, running ones are asked to; in every other state nothing changes.
local id, tenant = ARGV[2], ARGV[3]
local mine, answer = belongs(id, tenant)
if not mine then return answer end
local status = field(id, 'status')
if status == 'queued' then
  leave_line(id, tenant)
  finish(id, 'canceled', tonumber(ARGV[4]), tonumber(ARGV[5]))
elseif status == 'running' then
  redis.call('HSET', key('job', id), 'status', 'canceling')
end
return snapshot(id)
