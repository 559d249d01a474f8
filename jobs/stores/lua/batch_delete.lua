-- prefix, batch, tenant, retention, tombstone -> 'deleted' | 'running' when a worker has one of its jobs | 'gone' | nil
-- Its jobs go with it.
local batch, tenant, retention, tombstone = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local mine, answer = batch_belongs(batch, tenant)
if not mine then return answer end
local items = cjson.decode(redis.call('HGET', key('batch', batch), 'items'))
for _, item in ipairs(items) do
  local status = field(item[2], 'status')
  if status == 'running' or status == 'canceling' then return 'running' end
end
local name = redis.call('HGET', key('batch', batch), 'submission')
if name then forget_answer(tenant, name) end
redis.call('DEL', key('batch', batch), key('batch-ends', batch))
for _, item in ipairs(items) do
  if redis.call('EXISTS', key('job', item[2])) == 1 then
    forget_events(item[2])
    delete_job(item[2], tenant, retention, tombstone)
  end
end
redis.call('ZREM', key('batches', tenant), batch)
redis.call('SET', key('tomb', batch), tenant, 'EX', tombstone)
redis.call('ZADD', key('expiring'), now_ms(), tenant .. '/' .. batch)
return 'deleted'
