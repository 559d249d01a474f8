-- prefix, tenant, highest sequence number, limit -> {sequence number of the last entry looked at or false, snapshots}
-- Entries whose record has expired are skipped, so a page may be shorter than its limit and still have a successor.
local tenant, limit = ARGV[2], tonumber(ARGV[4])
local entries = redis.call('ZREVRANGEBYSCORE', key('index', tenant), ARGV[3], '-inf', 'WITHSCORES', 'LIMIT', 0, limit + 1)
local items = {}
for i = 1, math.min(#entries, limit * 2), 2 do
  local item = snapshot(entries[i])
  if item then items[#items + 1] = item end
end
local more = #entries > limit * 2
return {more and entries[limit * 2] or false, items}
