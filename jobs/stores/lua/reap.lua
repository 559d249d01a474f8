-- prefix, pause_ms, lease_ms, max attempts, retention, tombstone, error, RQ queue key
--   -> {requeued, failed, canceled, missing tickets, expired} | nil when another process reaps
-- One round at a time: the lock frees itself, so a reaper that dies delays the next round and nothing else.
local pause_ms, lease_ms, max_attempts = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local retention, tombstone = tonumber(ARGV[5]), tonumber(ARGV[6])
if not redis.call('SET', key('reaper'), '1', 'NX', 'PX', pause_ms) then return false end
local now = now_ms()

-- When nobody has reaped for a while, Redis was away, and healthy workers could not renew either: they get half a
-- lease to speak up first.
local last = tonumber(redis.call('GETSET', key('reaped'), now) or 0)
if now - last > lease_ms / 2 then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('leases'), '(0', now + lease_ms / 2)) do
    redis.call('ZADD', key('leases'), now + lease_ms / 2, id)
  end
end

local requeued, failed, canceled = 0, 0, 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('leases'), '-inf', now, 'LIMIT', 0, 100)) do
  local status = field(id, 'status')
  if status == 'canceling' then
    finish(id, 'canceled', retention, tombstone)
    canceled = canceled + 1
  elseif status ~= 'running' then
    redis.call('ZREM', key('leases'), id)
  elseif redis.call('HINCRBY', key('job', id), 'crashes', 1) >= max_attempts then
    finish(id, 'failed', retention, tombstone, 'error', ARGV[7])
    failed = failed + 1
  else
    requeue(id)
    requeued = requeued + 1
  end
end
local expired = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('deadlines'), '-inf', '(' .. now, 'LIMIT', 0, 100)) do
  leave_line(id, field(id, 'tenant'))
  finish(id, 'expired', retention, tombstone)
  expired = expired + 1
end
local missing = redis.call('ZCARD', key('queued')) - redis.call('LLEN', ARGV[8])
return {requeued, failed, canceled, math.max(0, missing), expired}
