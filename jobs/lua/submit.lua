-- prefix, id, tenant, priority, spec, bound -> {'created' | 'exists', snapshot} | {'full'} | {'taken'}
-- The same id again by the same tenant changes nothing, so a submission whose answer was lost can be repeated.
local id, tenant, priority, spec, bound = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local owner = field(id, 'tenant') or redis.call('GET', key('tomb', id))
if owner then
  local known = owner == tenant and snapshot(id)
  if not known then return {'taken'} end
  return {'exists', known}
end
if redis.call('ZCARD', key('queued')) >= bound then return {'full'} end
local now = now_ms()
local sequence = redis.call('INCR', key('sequence'))
redis.call('HSET', key('job', id), 'id', id, 'tenant', tenant, 'status', 'queued', 'attempt', 0, 'crashes', 0,
  'spec', spec, 'step', 0, 'steps', 0, 'created_at', now, 'sequence', sequence, 'rank', sequence - priority * 1e12)
redis.call('ZADD', key('index', tenant), sequence, id)
wait_in_line(id, now)
return {'created', snapshot(id)}
