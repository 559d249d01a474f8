-- prefix, id, tenant, key of the submission or '', fingerprint, hold_ms
--   -> {'yours'} | {'answered', first snapshot} | {'held'} | {'other'} | {'gone'}
local id, tenant, name, fingerprint, hold_ms = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if name ~= '' then
  local submission = key('submission', tenant, name)
  local known = redis.call('HMGET', submission, 'fingerprint', 'answer', 'id')
  if known[1] and known[1] ~= fingerprint then return {'other'} end
  if redis.call('HEXISTS', submission, 'deleted') == 1 then return {'gone'} end
  if known[2] then return {'answered', cjson.decode(known[2])} end
  if known[3] and known[3] ~= id then return {'held'} end
  redis.call('HSET', submission, 'fingerprint', fingerprint, 'id', id)
  redis.call('PEXPIRE', submission, hold_ms)
end
redis.call('ZADD', key('reserved'), now_ms(), tenant .. '/' .. id)
return {'yours'}
