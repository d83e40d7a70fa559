BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('r0002');
CREATE TABLE bookmarks (
	name TEXT NOT NULL,
	text TEXT NOT NULL,
	PRIMARY KEY (name)
);
INSERT INTO "bookmarks" VALUES('spool','7');
CREATE TABLE complaints (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	at DOUBLE NOT NULL,
	service TEXT NOT NULL,
	environment TEXT NOT NULL,
	release TEXT NOT NULL,
	prediction TEXT NOT NULL,
	text TEXT NOT NULL,
	"by" TEXT NOT NULL,
	source TEXT NOT NULL,
	external_id TEXT NOT NULL
);
INSERT INTO "complaints" VALUES(1,2.75,'flights','production','111111111111','r-1','Wrong.','eve','cli','');
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
INSERT INTO "events" VALUES(1,1.5,'flights','production',1,'started','Launch of 222222222222 (main) by ann.');
INSERT INTO "events" VALUES(2,2.25,'flights','production',1,'step','Step 1 of 2: 1 % of traffic – «Ünïcode».');
INSERT INTO "events" VALUES(3,3.0,'flights','production',NULL,'note','A ''quoted'' text;
in two lines.');
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
	history TEXT NOT NULL, warm_until DOUBLE DEFAULT '0' NOT NULL,
	PRIMARY KEY (service, environment)
);
INSERT INTO "lives" VALUES('flights','production','{"environment":{"after":null,"attach":null,"branch":null,"capture":{"disk_bytes_max":1073741824,"keys":[],"percent":100.0,"redact":{}},"cohorts":[],"compared_paths":[],"env":{},"evidence":{"keys":[],"require":"none","threshold":1},"fallback_body":null,"fallbacks":[],"name":"production","notify":{},"predict_paths":[],"replay":null,"replica_count":2,"request_timeout_seconds":5.0,"secrets":{},"standard_paths":true,"strategy":{"acceptable_percent":1.0,"agreement_tolerance":0.0,"alpha":0.01,"beta":0.01,"checks":[],"deadline_seconds":3600.0,"disagreement_percent_max":5.0,"guardrails":["errors","client_errors","latency","invalid"],"holdback_percent":5.0,"key_header":null,"kind":"canary","latency_slo_ms":null,"margin_ratio":2.0,"on_deadline":"hold","on_failure":"roll_back","step_attempts_min":50,"steps":[{"approvers":[],"attempts_min":null,"cohort":"","duration_seconds":0.0,"kind":"share","weight":100},{"approvers":[],"attempts_min":null,"cohort":"","duration_seconds":0.0,"kind":"share","weight":10000}],"warm_seconds":0.0,"watch_seconds":86400.0},"verify":null},"schema":1}','sha256:1111111111111111111111111111111111111111111111111111111111111111',NULL,3,'{"attempts":7}',9.5);
CREATE TABLE pins (
	service TEXT NOT NULL,
	environment TEXT NOT NULL,
	release TEXT NOT NULL,
	at DOUBLE NOT NULL,
	commit_id TEXT NOT NULL,
	reason TEXT NOT NULL,
	"by" TEXT NOT NULL,
	lifted_at DOUBLE,
	lifted_by TEXT NOT NULL,
	lifted_reason TEXT NOT NULL,
	PRIMARY KEY (service, environment, release, at)
);
INSERT INTO "pins" VALUES('flights','production','sha256:3333333333333333333333333333333333333333333333333333333333333333',2.5,'dddddddddddddddddddddddddddddddddddddddd','Errors.','guardrails',NULL,'','');
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
	measured TEXT NOT NULL, successor TEXT,
	PRIMARY KEY (id)
);
INSERT INTO "rollouts" VALUES(1,'flights','production','sha256:2222222222222222222222222222222222222222222222222222222222222222','sha256:1111111111111111111111111111111111111111111111111111111111111111','preparing','{"approved":false,"ending":null,"entered_at":1.0,"hold":null,"paused":false,"phase":"preparing","plan":{"compared":true,"deadline_seconds":3600.0,"drain_seconds":5.0,"drill":false,"holdback":500,"immediate":false,"on_deadline":"hold","on_failure":"roll_back","recreate":false,"step_attempts_min":50,"steps":[{"approvers":[],"attempts_min":null,"cohort":"","duration_seconds":0.0,"kind":"share","weight":100},{"approvers":[],"attempts_min":null,"cohort":"","duration_seconds":0.0,"kind":"share","weight":10000}],"verified_only":false,"watch_seconds":86400.0},"reason":"Launch.","schema":1,"step":0}','main','cccccccccccccccccccccccccccccccccccccccc','ann','5a17',1700000000.25,NULL,'{"environment":{"after":null,"attach":null,"branch":null,"capture":{"disk_bytes_max":1073741824,"keys":[],"percent":100.0,"redact":{}},"cohorts":[],"compared_paths":[],"env":{},"evidence":{"keys":[],"require":"none","threshold":1},"fallback_body":null,"fallbacks":[],"name":"production","notify":{},"predict_paths":[],"replay":null,"replica_count":2,"request_timeout_seconds":5.0,"secrets":{},"standard_paths":true,"strategy":{"acceptable_percent":1.0,"agreement_tolerance":0.0,"alpha":0.01,"beta":0.01,"checks":[],"deadline_seconds":3600.0,"disagreement_percent_max":5.0,"guardrails":["errors","client_errors","latency","invalid"],"holdback_percent":5.0,"key_header":null,"kind":"canary","latency_slo_ms":null,"margin_ratio":2.0,"on_deadline":"hold","on_failure":"roll_back","step_attempts_min":50,"steps":[{"approvers":[],"attempts_min":null,"cohort":"","duration_seconds":0.0,"kind":"share","weight":100},{"approvers":[],"attempts_min":null,"cohort":"","duration_seconds":0.0,"kind":"share","weight":10000}],"warm_seconds":0.0,"watch_seconds":86400.0},"verify":null},"schema":1}','{"log":[0.5]}','{}','{"commit":"dddddddddddddddddddddddddddddddddddddddd","id":2,"ref":"v3","release":"sha256:3333333333333333333333333333333333333333333333333333333333333333","requested_by":"bob","spec":{"environment":{"after":null,"attach":null,"branch":null,"capture":{"disk_bytes_max":1073741824,"keys":[],"percent":100.0,"redact":{}},"cohorts":[],"compared_paths":[],"env":{},"evidence":{"keys":[],"require":"none","threshold":1},"fallback_body":null,"fallbacks":[],"name":"production","notify":{},"predict_paths":[],"replay":null,"replica_count":2,"request_timeout_seconds":5.0,"secrets":{},"standard_paths":true,"strategy":{"acceptable_percent":1.0,"agreement_tolerance":0.0,"alpha":0.01,"beta":0.01,"checks":[],"deadline_seconds":3600.0,"disagreement_percent_max":5.0,"guardrails":["errors","client_errors","latency","invalid"],"holdback_percent":5.0,"key_header":null,"kind":"canary","latency_slo_ms":null,"margin_ratio":2.0,"on_deadline":"hold","on_failure":"roll_back","step_attempts_min":50,"steps":[{"approvers":[],"attempts_min":null,"cohort":"","duration_seconds":0.0,"kind":"share","weight":100},{"approvers":[],"attempts_min":null,"cohort":"","duration_seconds":0.0,"kind":"share","weight":10000}],"warm_seconds":0.0,"watch_seconds":86400.0},"verify":null},"schema":1}}');
CREATE UNIQUE INDEX rollouts_unfinished ON rollouts (service, environment) WHERE finished_at IS NULL;
CREATE INDEX rollouts_by_place ON rollouts (service, environment, id);
CREATE INDEX events_by_place ON events (service, environment, id);
CREATE INDEX events_by_rollout ON events (rollout_id, id);
CREATE INDEX keys_by_rollout ON keys (rollout_id);
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER keys_no_update BEFORE UPDATE ON keys BEGIN SELECT RAISE(ABORT, 'keys is append-only'); END;
CREATE TRIGGER keys_no_delete BEFORE DELETE ON keys BEGIN SELECT RAISE(ABORT, 'keys is append-only'); END;
CREATE UNIQUE INDEX complaints_by_ticket ON complaints (external_id) WHERE external_id != '';
CREATE INDEX complaints_by_time ON complaints (at);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',3);
INSERT INTO "sqlite_sequence" VALUES('complaints',1);
COMMIT;
