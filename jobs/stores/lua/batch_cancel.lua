-- prefix, batch, tenant, retention, tombstone -> as batch_get
local batch, tenant = ARGV[2], ARGV[3]
local mine, answer = batch_belongs(batch, tenant)
if not mine then return answer end
for _, item in ipairs(cjson.decode(redis.call('HGET', key('batch', batch), 'items'))) do
  cancel_job(item[2], tenant, tonumber(ARGV[4]), tonumber(ARGV[5]))
end
return batch_snapshot(batch)
