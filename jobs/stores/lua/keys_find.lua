-- prefix, id -> fields of the key, none when there is no such key
return redis.call('HGETALL', key('key', ARGV[2]))
