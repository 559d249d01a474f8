-- prefix, id, tenant -> snapshot | 'gone' | nil
local id, tenant = ARGV[2], ARGV[3]
local mine, answer = belongs(id, tenant)
if not mine then return answer end
return snapshot(id)
