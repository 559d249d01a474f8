-- prefix, 'expiring' | 'leftovers' | 'reserved' | 'ending', age_ms, limit -> {'tenant/id', ...} that have been due for at least age_ms
return redis.call('ZRANGEBYSCORE', key(ARGV[2]), '-inf', now_ms() - tonumber(ARGV[3]), 'LIMIT', 0, ARGV[4])
