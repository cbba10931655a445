-- The user_data of a configuration, for lists of pipelines. Null until a pipeline's next save.
ALTER TABLE pipelines ADD COLUMN user_data TEXT;
