-- prefix, id, tenant, priority, spec, bound, key of the submission or '', seconds to keep the answer,
--   bound on the tenant's jobs or 0, seconds until it must have started or 0, time to live once over in seconds or 0, kind
--   -> {'created' | 'exists', snapshot} | {'full'} | {'tenant full'} | {'taken'} | {'superseded'}
-- The same id again by the same tenant changes nothing, so a submission whose answer was lost can be repeated.
local id, tenant, priority, spec, bound = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local name, keep_s, own_bound = ARGV[7], ARGV[8], tonumber(ARGV[9])
local submission = name ~= '' and key('submission', tenant, name)
local owner = field(id, 'tenant') or redis.call('GET', key('tomb', id))
if owner then
  local answer = owner == tenant and submission and redis.call('HGET', submission, 'answer')
  local known = answer and cjson.decode(answer) or owner == tenant and snapshot(id)
  if not known then return {'taken'} end
  return {'exists', known}
end
if submission and redis.call('HGET', submission, 'id') ~= id then return {'superseded'} end
if redis.call('ZCARD', key('queued')) >= bound then return {'full'} end
if own_bound > 0 and redis.call('SCARD', key('active', tenant)) >= own_bound then return {'tenant full'} end
create_job(id, tenant, priority, spec, ARGV[12], tonumber(ARGV[10]), tonumber(ARGV[11]))
redis.call('ZREM', key('reserved'), tenant .. '/' .. id)
local created = snapshot(id)
if submission then
  answer_submission(tenant, name, created, keep_s)
  redis.call('HSET', key('job', id), 'submission', name)
end
return {'created', created}
