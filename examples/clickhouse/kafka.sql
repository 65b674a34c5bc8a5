-- Lines from Kafka, where rsyslog or another program has put them, into `lines` of schema.sql.

CREATE TABLE kafka_lines (line String) ENGINE = Kafka
SETTINGS kafka_broker_list = 'kafka:9092',
         kafka_topic_list = 'xctl-network',
         kafka_group_name = 'clickhouse',
         kafka_format = 'LineAsString';

CREATE MATERIALIZED VIEW kafka_to_lines TO lines AS SELECT line FROM kafka_lines;
