BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('r0001');
CREATE TABLE cursor (
	id INTEGER NOT NULL,
	file_id BIGINT NOT NULL,
	"offset" BIGINT NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO "cursor" VALUES(1,7,4096);
CREATE TABLE events (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	at DOUBLE NOT NULL,
	service TEXT NOT NULL,
	environment TEXT NOT NULL,
	rollout_id INTEGER,
	kind TEXT NOT NULL,
	text TEXT NOT NULL,
	FOREIGN KEY(rollout_id) REFERENCES rollouts (id)
);
INSERT INTO "events" VALUES(1,1.5,'flights','production',1,'started','Launch.');
CREATE TABLE keys (
	id INTEGER NOT NULL,
	rollout_id INTEGER NOT NULL,
	guardrail TEXT NOT NULL,
	"key" BIGINT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(rollout_id) REFERENCES rollouts (id)
);
INSERT INTO "keys" VALUES(1,1,'errors',-9223372036854775807);
CREATE TABLE listeners (
	environment TEXT NOT NULL,
	port INTEGER NOT NULL,
	PRIMARY KEY (environment)
);
INSERT INTO "listeners" VALUES('production',8080);
CREATE TABLE lives (
	service TEXT NOT NULL,
	environment TEXT NOT NULL,
	spec TEXT NOT NULL,
	stable TEXT,
	previous TEXT,
	epoch BIGINT NOT NULL,
	history TEXT NOT NULL,
	PRIMARY KEY (service, environment)
);
INSERT INTO "lives" VALUES('flights','production','{"environment":{"after":null,"branch":null,"env":{},"fallback_body":null,"name":"production","replica_count":2,"request_timeout_seconds":5.0,"strategy":{"acceptable_percent":1.0,"alpha":0.01,"beta":0.01,"deadline_seconds":3600.0,"guardrails":["errors","client_errors","latency","invalid"],"holdback_percent":5.0,"key_header":"x-user-id","kind":"canary","latency_slo_ms":null,"margin_ratio":2.0,"step_attempts_min":50,"watch_seconds":86400.0,"weights":[100,2500,10000]},"verify":null},"schema":1}','sha256:1111111111111111111111111111111111111111111111111111111111111111',NULL,3,'{"attempts":7}');
CREATE TABLE rollouts (
	id INTEGER NOT NULL,
	service TEXT NOT NULL,
	environment TEXT NOT NULL,
	candidate TEXT NOT NULL,
	stable TEXT,
	phase TEXT NOT NULL,
	state TEXT NOT NULL,
	ref TEXT NOT NULL,
	commit_id TEXT NOT NULL,
	requested_by TEXT NOT NULL,
	salt TEXT NOT NULL,
	created_at DOUBLE NOT NULL,
	finished_at DOUBLE,
	spec TEXT NOT NULL,
	evidence TEXT NOT NULL,
	measured TEXT NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO "rollouts" VALUES(1,'flights','production','sha256:2222222222222222222222222222222222222222222222222222222222222222','sha256:1111111111111111111111111111111111111111111111111111111111111111','stepping','{"ending":null,"entered_at":1700000000.25,"hold":null,"paused":false,"phase":"stepping","plan":{"compared":true,"deadline_seconds":3600.0,"drain_seconds":5.0,"holdback":500,"immediate":false,"step_attempts_min":50,"verified_only":false,"watch_seconds":86400.0,"weights":[100,2500,10000]},"reason":"Launch of 222222222222 (main) by ann.","schema":1,"step":1}','main','cccccccccccccccccccccccccccccccccccccccc','ann','5a17',1700000000.25,NULL,'{"environment":{"after":null,"branch":null,"env":{},"fallback_body":null,"name":"production","replica_count":2,"request_timeout_seconds":5.0,"strategy":{"acceptable_percent":1.0,"alpha":0.01,"beta":0.01,"deadline_seconds":3600.0,"guardrails":["errors","client_errors","latency","invalid"],"holdback_percent":5.0,"key_header":"x-user-id","kind":"canary","latency_slo_ms":null,"margin_ratio":2.0,"step_attempts_min":50,"watch_seconds":86400.0,"weights":[100,2500,10000]},"verify":null},"schema":1}','{"log":[0.5]}','{}');
CREATE UNIQUE INDEX rollouts_unfinished ON rollouts (service, environment) WHERE finished_at IS NULL;
CREATE INDEX rollouts_by_place ON rollouts (service, environment, id);
CREATE INDEX events_by_place ON events (service, environment, id);
CREATE INDEX events_by_rollout ON events (rollout_id, id);
CREATE INDEX keys_by_rollout ON keys (rollout_id);
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER keys_no_update BEFORE UPDATE ON keys BEGIN SELECT RAISE(ABORT, 'keys is append-only'); END;
CREATE TRIGGER keys_no_delete BEFORE DELETE ON keys BEGIN SELECT RAISE(ABORT, 'keys is append-only'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',1);
COMMIT;
