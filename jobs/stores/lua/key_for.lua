-- prefix, purpose, value if there is none yet -> value
redis.call('SET', key('key_for', ARGV[2]), ARGV[3], 'NX')
return redis.call('GET', key('key_for', ARGV[2]))
