-- prefix, id, tenant, tombstone -> 'deleted' | status of a job that runs | 'gone' | nil
-- The objects go after the record: until they have, the job is among those of the collector.
local id, tenant, tombstone = ARGV[2], ARGV[3], tonumber(ARGV[4])
local mine, answer = belongs(id, tenant)
if not mine then return answer end
local status = field(id, 'status')
if status == 'running' or status == 'canceling' then return status end
leave_line(id, tenant)
local name = field(id, 'submission')
if name and redis.call('HDEL', key('submission', tenant, name), 'answer') == 1 then
  redis.call('HSET', key('submission', tenant, name), 'deleted', 1)
end
forget_events(id)
redis.call('DEL', key('job', id))
redis.call('ZREM', key('deadlines'), id)
redis.call('SREM', key('active', tenant), id)
redis.call('ZREM', key('index', tenant), id)
redis.call('SET', key('tomb', id), tenant, 'EX', tombstone)
redis.call('ZADD', key('expiring'), now_ms(), tenant .. '/' .. id)
return 'deleted'
