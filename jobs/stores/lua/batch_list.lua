-- prefix, tenant, highest sequence number, limit -> {sequence number of the last entry or false when there are no more, snapshots}
local tenant, highest, limit = ARGV[2], ARGV[3], tonumber(ARGV[4])
local items, last = {}, nil
local entries = redis.call('ZREVRANGEBYSCORE', key('batches', tenant), highest, '-inf', 'WITHSCORES', 'LIMIT', 0, limit + 1)
for i = 1, math.min(#entries, limit * 2), 2 do
  last = entries[i + 1]
  local item = batch_snapshot(entries[i])
  if item then items[#items + 1] = item end
end
return {#entries > limit * 2 and last, items}
