//! Limits by bytes: those of plans, and the disk's.

use super::{
    EventClips, MAX_ROWS_AT_ONCE, Query, Row, RowsError, Step, Verdict, Which, stream::Stream,
};

/// What one chain uses, and what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainUse {
    /// Bytes of its segments now, locked ones included.
    pub bytes: u64,
    /// What it may use before it has to give for others.
    pub share_bytes: u64,
    /// The plan's own limit.
    pub max_bytes: Option<u64>,
    /// How clips of events are treated.
    pub event_clips: EventClips,
    /// Ranges in the chain's newest checkpoint, see [`super::MAX_EXPIRED_RANGES`].
    pub expired_ranges: u32,
}

impl ChainUse {
    /// A chain without a limit of its own, with all recordings alike.
    #[must_use]
    pub const fn new(bytes: u64, share_bytes: u64) -> Self {
        Self {
            bytes,
            share_bytes,
            max_bytes: None,
            event_clips: EventClips::Alike,
            expired_ranges: 0,
        }
    }

    /// What it is over its own limit by.
    fn over_limit(&self) -> u64 {
        self.max_bytes.map_or(0, |max| self.bytes.saturating_sub(max))
    }

    fn over_share(&self) -> u64 {
        self.bytes.saturating_sub(self.share_bytes)
    }
}

#[derive(Debug)]
struct Chain {
    used: ChainUse,
    /// In the order in which they give.
    streams: Vec<Stream>,
}

impl Chain {
    /// The first of its streams that has a row; `Err` when rows have to be read to know.
    fn giving(&self) -> Result<Option<usize>, Query> {
        for (n, stream) in self.streams.iter().enumerate() {
            if stream.head()?.is_some() {
                return Ok(Some(n));
            }
        }
        Ok(None)
    }
}

/// Finds what has to go for space. See the module above.
#[derive(Debug)]
pub struct Space {
    need_bytes: u64,
    freed_bytes: u64,
    chains: Vec<Chain>,
    rows: u32,
    open: Option<Query>,
}

impl Space {
    /// `need_bytes` are to be freed on the disk that all chains share; 0 when only the plans' own
    /// limits are to be kept.
    #[must_use]
    pub fn new(need_bytes: u64, chains: Vec<ChainUse>) -> Self {
        let chain = |(n, used): (usize, ChainUse)| {
            let order = Which::order(used.event_clips, used.expired_ranges).iter();
            Chain { used, streams: order.map(|which| Stream::new(n, *which, None)).collect() }
        };
        let chains = chains.into_iter().enumerate().map(chain).collect();
        Self { need_bytes, freed_bytes: 0, chains, rows: 0, open: None }
    }

    /// What it wants next.
    pub fn poll(&mut self) -> Step {
        while self.rows < MAX_ROWS_AT_ONCE {
            match self.choose() {
                Err(query) => {
                    self.open = Some(query);
                    return Step::Read(query);
                }
                Ok(None) => return Step::Done,
                Ok(Some((chain, stream))) => {
                    let chain = &mut self.chains[chain];
                    let bytes = chain.streams[stream].release_head();
                    chain.used.bytes = chain.used.bytes.saturating_sub(bytes);
                    self.freed_bytes = self.freed_bytes.saturating_add(bytes);
                    self.rows += 1;
                }
            }
        }
        Step::Done
    }

    /// Takes the rows of the query that [`Self::poll`] gave.
    ///
    /// # Errors
    /// [`RowsError`]: the index's fault; nothing has changed.
    pub fn handle_rows(&mut self, rows: Vec<Row>) -> Result<(), RowsError> {
        let query = self.open.ok_or(RowsError::Unasked)?;
        let streams = &mut self.chains[query.chain].streams;
        let asked = streams.iter_mut().find(|stream| stream.head().err() == Some(query));
        asked.ok_or(RowsError::Unasked)?.fill(rows)?;
        self.open = None;
        Ok(())
    }

    /// What is to go, as far as it is known; whole after [`Step::Done`].
    #[must_use]
    pub fn into_verdict(self) -> Verdict {
        let more = self.rows >= MAX_ROWS_AT_ONCE;
        let missing = self.need_bytes.saturating_sub(self.freed_bytes);
        let streams = self.chains.iter().flat_map(|chain| &chain.streams);
        Verdict {
            releases: streams.filter_map(Stream::release).collect(),
            missing_bytes: if more { 0 } else { missing },
            more,
        }
    }

    /// Chain and stream that give next.
    fn choose(&self) -> Result<Option<(usize, usize)>, Query> {
        for (n, chain) in self.chains.iter().enumerate() {
            if chain.used.over_limit() > 0
                && let Some(stream) = chain.giving()?
            {
                return Ok(Some((n, stream)));
            }
        }
        if self.freed_bytes >= self.need_bytes {
            return Ok(None);
        }
        match self.furthest_over_share()? {
            Some(found) => Ok(Some(found)),
            None => self.oldest(),
        }
    }

    fn furthest_over_share(&self) -> Result<Option<(usize, usize)>, Query> {
        let mut found: Option<(u64, usize, usize)> = None;
        for (n, chain) in self.chains.iter().enumerate() {
            let over = chain.used.over_share();
            if over > found.map_or(0, |(most, ..)| most)
                && let Some(stream) = chain.giving()?
            {
                found = Some((over, n, stream));
            }
        }
        Ok(found.map(|(_, chain, stream)| (chain, stream)))
    }

    /// The oldest row of all, those of events behind all others, and those whose time nobody vouches
    /// for behind those of known time. Only here, between chains, does time decide: their numbers
    /// cannot be compared.
    fn oldest(&self) -> Result<Option<(usize, usize)>, Query> {
        let mut found: Option<((bool, bool, i64), usize, usize)> = None;
        for (n, chain) in self.chains.iter().enumerate() {
            let Some(at) = chain.giving()? else { continue };
            let row: Option<&Row> = chain.streams[at].head()?;
            let Some(row) = row else { continue };
            let key = (at > 0, !row.time_known, row.end.0);
            if found.is_none_or(|(least, ..)| key < least) {
                found = Some((key, n, at));
            }
        }
        Ok(found.map(|(_, chain, stream)| (chain, stream)))
    }
}
