-- prefix, id, attempt, outcome, retention, tombstone, result or error -> status now | nil when the attempt is not current
-- From running every outcome is open. From canceling the only end is canceled: a cancel that came before the commit wins.
-- Repeating a call that already took effect changes nothing and is answered alike.
local id, attempt, outcome = ARGV[2], ARGV[3], ARGV[4]
if field(id, 'attempt') ~= attempt then return false end
local status = field(id, 'status')
local retention, tombstone = tonumber(ARGV[5]), tonumber(ARGV[6])
if status == 'canceling' and outcome ~= 'succeeded' then
  finish(id, 'canceled', retention, tombstone)
elseif status == 'running' and outcome == 'succeeded' then
  redis.call('HSET', key('job', id), 'step', field(id, 'steps'))
  finish(id, outcome, retention, tombstone, 'result', ARGV[7])
elseif status == 'running' and outcome == 'failed' then
  finish(id, outcome, retention, tombstone, 'error', ARGV[7])
end
return field(id, 'status')
