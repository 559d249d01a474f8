-- prefix, id, tenant, retention, tombstone -> 'deleted' | status of a job that runs | 'gone' | nil
local id, tenant = ARGV[2], ARGV[3]
local mine, answer = belongs(id, tenant)
if not mine then return answer end
local status = field(id, 'status')
if status == 'running' or status == 'canceling' then return status end
local name = field(id, 'submission')
if name then forget_answer(tenant, name) end
forget_events(id)
delete_job(id, tenant, tonumber(ARGV[4]), tonumber(ARGV[5]))
return 'deleted'
