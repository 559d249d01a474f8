-- prefix, id, tenant, retention, tombstone -> as get
local id, tenant = ARGV[2], ARGV[3]
local mine, answer = belongs(id, tenant)
if not mine then return answer end
cancel_job(id, tenant, tonumber(ARGV[4]), tonumber(ARGV[5]))
return snapshot(id)
