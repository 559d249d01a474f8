-- prefix, id, attempt, 'delivered' | 'retry' | 'failed' | 'gone', HTTP status or '', error or '', pause_ms, keep_s
--   -> 1 | nil when the attempt is not current
local id, attempt, outcome, keep_s = ARGV[2], ARGV[3], ARGV[4], ARGV[8]
local found = redis.call('HMGET', key('delivery', id), 'attempts', 'status', 'tenant', 'job')
local tenant, job = found[3], found[4]
if found[1] ~= attempt or found[2] ~= 'pending' then return false end
redis.call('HSET', key('delivery', id), 'tried', 1, 'http_status', ARGV[5], 'error', ARGV[6])
if outcome == 'retry' then
  release_next(id, tenant)
  redis.call('ZREM', key('flights', tenant), id)
  schedule(id, tenant, now_ms() + tonumber(ARGV[7]))
  return 1
end
settle(id, tenant, outcome == 'delivered' and 'delivered' or 'failed', keep_s)
-- A receiver that is gone gets nothing more of this job.
if outcome == 'gone' and redis.call('EXISTS', key('job', job)) == 1 then
  redis.call('HSET', key('job', job), 'webhook_gone', 1)
  each_event(job, function(other)
    if redis.call('HGET', key('delivery', other), 'status') == 'pending' then
      redis.call('HSET', key('delivery', other), 'error', ARGV[6])
      settle(other, tenant, 'failed', keep_s)
    end
  end)
end
return 1
