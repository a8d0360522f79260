//! The one place where the two engines are told apart.

/// Runs one statement on whichever engine is open: `rows!(read|write, one|all, db, Row, SQL, binds…)`.
///
/// `one` gives `Option<Row>`, `all` gives `Vec<Row>`. On SQLite `write` goes to the single writing
/// connection; a statement that changes anything must say so.
macro_rules! rows {
    ($access:ident, $fetch:ident, $db:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        match &$db.backend {
            $crate::Backend::Sqlite { writer, reader } => {
                let pool = $crate::query::rows!(@pool $access, writer, reader);
                let query = sqlx::query_as::<_, $row>($sql)$(.bind($bind))*;
                $crate::query::rows!(@fetch $fetch, query, pool)
            }
            $crate::Backend::Postgres(pool) => {
                let query = sqlx::query_as::<_, $row>($sql)$(.bind($bind))*;
                $crate::query::rows!(@fetch $fetch, query, pool)
            }
        }
        .map_err($crate::StorageError::from)
    };
    (@pool read, $writer:ident, $reader:ident) => {{ let _ = $writer; $reader }};
    (@pool write, $writer:ident, $reader:ident) => {{ let _ = $reader; $writer }};
    (@fetch one, $query:ident, $pool:ident) => { $query.fetch_optional($pool).await };
    (@fetch all, $query:ident, $pool:ident) => { $query.fetch_all($pool).await };
}

/// Runs one statement that gives no rows; the result is how many rows it changed.
macro_rules! execute {
    ($db:expr, $sql:expr $(, $bind:expr)* $(,)?) => {
        match &$db.backend {
            $crate::Backend::Sqlite { writer, .. } => sqlx::query($sql)$(.bind($bind))*
                .execute(writer).await.map(|done| done.rows_affected()),
            $crate::Backend::Postgres(pool) => sqlx::query($sql)$(.bind($bind))*
                .execute(pool).await.map(|done| done.rows_affected()),
        }
        .map_err($crate::StorageError::from)
    };
}

pub(crate) use {execute, rows};
