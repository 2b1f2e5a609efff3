SELECT count(*) AS samples FROM browser_performance
