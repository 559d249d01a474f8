-- prefix, id, attempt -> status while the attempt holds the job | nil
local id, attempt = ARGV[2], ARGV[3]
if field(id, 'attempt') ~= attempt then return false end
-- Score 0 tells the reaper that this lease has been given up and gets no grace.
redis.call('ZADD', key('leases'), 'XX', 0, id)
return field(id, 'status')
