-- prefix, id, attempt, lease_ms [, step, steps, preview key or ''] -> status while the attempt holds the job | nil
local id, attempt, lease_ms, step, steps, preview = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7]
local status = field(id, 'status')
if field(id, 'attempt') ~= attempt or (status ~= 'running' and status ~= 'canceling') then return false end
if lease_ms > 0 then redis.call('ZADD', key('leases'), now_ms() + lease_ms, id) end
if step then redis.call('HSET', key('job', id), 'step', step, 'steps', steps) end
if preview and preview ~= '' then redis.call('HSET', key('job', id), 'preview_key', preview) end
return status
