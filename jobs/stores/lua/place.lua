-- prefix, tenant, priority -> place in the line that a job submitted now would have
local tenant, priority = ARGV[2], tonumber(ARGV[3])
local rank = tonumber(redis.call('GET', key('sequence')) or 0) + 1 - priority * 1e12
return place_in_line(tenant, redis.call('ZCOUNT', key('pending', tenant), '-inf', rank))
