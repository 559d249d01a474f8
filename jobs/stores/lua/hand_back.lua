-- prefix, id, attempt, retention, tombstone -> status now | nil when the attempt is not current
-- The attempt number stays used, so that nothing the old attempt writes later can count.
local id, attempt = ARGV[2], ARGV[3]
if field(id, 'attempt') ~= attempt then return false end
local status = field(id, 'status')
if status == 'running' then
  requeue(id)
elseif status == 'canceling' then
  finish(id, 'canceled', tonumber(ARGV[4]), tonumber(ARGV[5]))
end
return field(id, 'status')
