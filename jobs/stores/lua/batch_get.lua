-- prefix, batch, tenant -> snapshot | 'gone' | nil
local batch, tenant = ARGV[2], ARGV[3]
local mine, answer = batch_belongs(batch, tenant)
if not mine then return answer end
return batch_snapshot(batch)
