-- ops/state.db of step 1 with books in it, as it was: kept as it is, so that what comes later brings it forward
PRAGMA application_id = 1261530212;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE counters(
        scope TEXT NOT NULL, name TEXT NOT NULL,
        spent INTEGER NOT NULL, held INTEGER NOT NULL,
        spent_micro_usd INTEGER NOT NULL, held_micro_usd INTEGER NOT NULL,
        PRIMARY KEY(scope, name)) WITHOUT ROWID;
INSERT INTO "counters" VALUES('agent','2026-05-28 bergen',35000,0,120000,0);
INSERT INTO "counters" VALUES('agent','2026-05-28 elsewhere',140,0,917,0);
INSERT INTO "counters" VALUES('agent','2026-05-28 oslo',42500,60000,51000,400000);
INSERT INTO "counters" VALUES('day','2026-05-28',77640,60000,171917,400000);
INSERT INTO "counters" VALUES('hour','494444',77640,60000,171917,400000);
INSERT INTO "counters" VALUES('pool','2026-05-28 web',35500,0,51000,0);
INSERT INTO "counters" VALUES('task','T-1',35500,60000,51000,400000);
INSERT INTO "counters" VALUES('task','T-2',35000,0,120000,0);
CREATE TABLE ended_holds(
    id TEXT PRIMARY KEY, state TEXT NOT NULL, day TEXT NOT NULL, hour INTEGER NOT NULL,
    agent TEXT NOT NULL, task TEXT NOT NULL, pool TEXT NOT NULL, model TEXT NOT NULL,
    input INTEGER NOT NULL, output INTEGER NOT NULL, cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL,
    tokens INTEGER NOT NULL, micro_usd INTEGER NOT NULL, critical INTEGER NOT NULL,
    owner INTEGER NOT NULL, since REAL NOT NULL, since_monotonic REAL NOT NULL, ttl REAL NOT NULL,
    booked INTEGER NOT NULL, booked_micro_usd INTEGER NOT NULL, ended REAL NOT NULL, worktree TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "ended_holds" VALUES('b19e7044880000000001','settled','2026-05-28',494444,'oslo','T-1','web','claude-sonnet-4-5',0,0,0,0,50000,750000,0,0,1780000000.0,5000.0,600.0,35500,51000,1780000060.0,'/home/ada/k1/.conductor/oslo');
INSERT INTO "ended_holds" VALUES('b19e70465cc000000002','settled','2026-05-28',494444,'bergen','T-2','','',0,0,0,0,20000,0,0,0,1780000120.0,5120.0,600.0,35000,120000,1780000180.0,'/home/ada/k1/.conductor/oslo');
INSERT INTO "ended_holds" VALUES('b19e7048318000000003','released','2026-05-28',494444,'oslo','','','',1000,2000,0,0,3000,0,1,0,1780000240.0,5240.0,600.0,0,0,1780000300.0,'/home/ada/k1/.conductor/oslo');
INSERT INTO "ended_holds" VALUES('b19e704a064000000004','lost','2026-05-28',494444,'bergen','','','',0,0,0,0,9000,0,0,0,1780000360.0,5360.0,30.0,0,0,1780000420.0,'/home/ada/k1/.conductor/oslo');
INSERT INTO "ended_holds" VALUES('b19e704dafc000000005','settled','2026-05-28',494444,'oslo','','','',0,0,0,0,8000,0,0,0,1780000600.0,5600.0,30.0,7000,0,1780000660.0,'/home/ada/k1/.conductor/oslo');
CREATE TABLE folded(seq INTEGER NOT NULL);
INSERT INTO "folded" VALUES(8);
CREATE TABLE folded_spend(
        day TEXT NOT NULL, hour INTEGER NOT NULL, agent TEXT NOT NULL, task TEXT NOT NULL, pool TEXT NOT NULL,
        model TEXT NOT NULL,
        input INTEGER NOT NULL, output INTEGER NOT NULL, cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL,
        tokens INTEGER NOT NULL, micro_usd INTEGER NOT NULL,
        PRIMARY KEY(day, hour, agent, task, pool, model)) WITHOUT ROWID;
INSERT INTO "folded_spend" VALUES('2026-05-28',494444,'bergen','T-2','','',0,0,0,0,35000,120000);
INSERT INTO "folded_spend" VALUES('2026-05-28',494444,'oslo','T-1','web','claude-sonnet-4-5',3000,2100,400,30000,35500,51000);
CREATE TABLE marks(
        scope TEXT NOT NULL, name TEXT NOT NULL, most INTEGER NOT NULL, percent INTEGER NOT NULL, at REAL NOT NULL,
        PRIMARY KEY(scope, name, most, percent)) WITHOUT ROWID;
CREATE TABLE messages(
        id TEXT PRIMARY KEY, day TEXT NOT NULL, hour INTEGER NOT NULL, agent TEXT NOT NULL, task TEXT NOT NULL,
        pool TEXT NOT NULL, model TEXT NOT NULL,
        input INTEGER NOT NULL, output INTEGER NOT NULL, cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL,
        tokens INTEGER NOT NULL, micro_usd INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "messages" VALUES('codex:m1','2026-05-28',494444,'elsewhere','','','gpt-5.2-codex',10,60,30,40,140,917);
CREATE TABLE open_holds(
    id TEXT PRIMARY KEY, state TEXT NOT NULL, day TEXT NOT NULL, hour INTEGER NOT NULL,
    agent TEXT NOT NULL, task TEXT NOT NULL, pool TEXT NOT NULL, model TEXT NOT NULL,
    input INTEGER NOT NULL, output INTEGER NOT NULL, cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL,
    tokens INTEGER NOT NULL, micro_usd INTEGER NOT NULL, critical INTEGER NOT NULL,
    owner INTEGER NOT NULL, since REAL NOT NULL, since_monotonic REAL NOT NULL, ttl REAL NOT NULL,
    booked INTEGER NOT NULL, booked_micro_usd INTEGER NOT NULL, ended REAL NOT NULL, worktree TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "open_holds" VALUES('still-open','open','2026-05-28',494444,'oslo','T-1','','',0,0,0,0,60000,400000,0,0,1780000720.0,5720.0,7260.0,0,0,0.0,'/home/ada/k1/.conductor/oslo');
CREATE TABLE record(
        seq INTEGER PRIMARY KEY, at REAL NOT NULL, what TEXT NOT NULL, id TEXT NOT NULL,
        day TEXT NOT NULL, hour INTEGER NOT NULL, agent TEXT NOT NULL, task TEXT NOT NULL, pool TEXT NOT NULL,
        model TEXT NOT NULL,
        input INTEGER NOT NULL, output INTEGER NOT NULL, cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL,
        tokens INTEGER NOT NULL, micro_usd INTEGER NOT NULL, note TEXT NOT NULL);
INSERT INTO "record" VALUES(1,1780000000.0,'reserve','b19e7044880000000001','2026-05-28',494444,'oslo','T-1','web','claude-sonnet-4-5',0,0,0,0,50000,750000,'');
INSERT INTO "record" VALUES(2,1780000060.0,'settle','b19e7044880000000001','2026-05-28',494444,'oslo','T-1','web','claude-sonnet-4-5',3000,2100,400,30000,35500,51000,'');
INSERT INTO "record" VALUES(3,1780000120.0,'reserve','b19e70465cc000000002','2026-05-28',494444,'bergen','T-2','','',0,0,0,0,20000,0,'');
INSERT INTO "record" VALUES(4,1780000180.0,'settle','b19e70465cc000000002','2026-05-28',494444,'bergen','T-2','','',0,0,0,0,35000,120000,'overrun');
INSERT INTO "record" VALUES(5,1780000240.0,'reserve','b19e7048318000000003','2026-05-28',494444,'oslo','','','',1000,2000,0,0,3000,0,'');
INSERT INTO "record" VALUES(6,1780000300.0,'release','b19e7048318000000003','2026-05-28',494444,'oslo','','','',0,0,0,0,0,0,'');
INSERT INTO "record" VALUES(7,1780000360.0,'reserve','b19e704a064000000004','2026-05-28',494444,'bergen','','','',0,0,0,0,9000,0,'');
INSERT INTO "record" VALUES(8,1780000420.0,'lost','b19e704a064000000004','2026-05-28',494444,'bergen','','','',0,0,0,0,0,0,'deadline');
INSERT INTO "record" VALUES(9,1780000480.0,'book','codex:m1','2026-05-28',494444,'elsewhere','','','gpt-5.2-codex',10,20,30,40,100,357,'');
INSERT INTO "record" VALUES(10,1780000540.0,'book','codex:m1','2026-05-28',494444,'elsewhere','','','gpt-5.2-codex',0,40,0,0,40,560,'again');
INSERT INTO "record" VALUES(11,1780000600.0,'reserve','b19e704dafc000000005','2026-05-28',494444,'oslo','','','',0,0,0,0,8000,0,'');
INSERT INTO "record" VALUES(12,1780000660.0,'lost','b19e704dafc000000005','2026-05-28',494444,'oslo','','','',0,0,0,0,0,0,'deadline');
INSERT INTO "record" VALUES(13,1780000660.0,'settle','b19e704dafc000000005','2026-05-28',494444,'oslo','','','',0,0,0,0,7000,0,'late');
INSERT INTO "record" VALUES(14,1780000720.0,'reserve','still-open','2026-05-28',494444,'oslo','T-1','','',0,0,0,0,60000,400000,'');
INSERT INTO "record" VALUES(15,1780000780.0,'extend','still-open','2026-05-28',494444,'oslo','T-1','','',0,0,0,0,0,0,'7260.000');
CREATE VIEW holds AS SELECT * FROM open_holds UNION ALL SELECT * FROM ended_holds;
CREATE VIEW fresh_spend AS SELECT day, hour, agent, task, pool, model, input, output, cache_write, cache_read, tokens, micro_usd FROM record
        WHERE seq > (SELECT seq FROM folded) AND what IN ('settle', 'book', 'exceed', 'model');
CREATE VIEW spend AS SELECT day, hour, agent, task, pool, model, SUM(input) AS input, SUM(output) AS output, SUM(cache_write) AS cache_write, SUM(cache_read) AS cache_read, SUM(tokens) AS tokens, SUM(micro_usd) AS micro_usd
        FROM (SELECT * FROM folded_spend UNION ALL SELECT * FROM fresh_spend) GROUP BY day, hour, agent, task, pool, model;
CREATE TRIGGER record_is_kept BEFORE DELETE ON record BEGIN SELECT RAISE(ABORT, 'the record is kept'); END;
CREATE TRIGGER record_is_final BEFORE UPDATE ON record BEGIN SELECT RAISE(ABORT, 'the record is final'); END;
COMMIT;
