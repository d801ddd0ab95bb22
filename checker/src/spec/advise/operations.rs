//! Transaction types, read: their operations, parameters and bound rows.

use super::document::{Node, Result, Section, Word, wrong};
use super::resolve::Reader;
use super::schema::{
    Change, ColumnId, Home, How, Kind, Operation, Pick, Selection, Source, TableId, Type,
};

/// Reads the transaction types.
pub(super) fn types(reader: &mut Reader, node: Node<'_>) -> Result<Vec<Type>> {
    let mut types: Vec<Type> = Vec::new();
    for node in node.list()? {
        let mut section = node.section("a transaction")?;
        let name = section.must("name")?.word()?;
        if types.iter().any(|it| it.name == name.text) {
            return name.wrong(format!("there are two transactions `{}`", name.text));
        }
        let depends_on_reads = section.maybe("depends-on-reads").map(Node::boolean);
        let mut body = Body::new(reader);
        for operation in section.must("operations")?.list()? {
            body.operation(operation)?;
        }
        let (parameters, operations) = (body.parameters, body.operations);
        section.finish()?;
        types.push(Type {
            name: name.text.to_owned(),
            parameters,
            operations,
            depends_on_reads: depends_on_reads.transpose()?,
        });
    }
    if types.is_empty() || types.len() > 16 {
        return wrong(node.line, "an application has 1 to 16 transactions");
    }
    Ok(types)
}

/// A transaction type, as far as it is read.
struct Body<'r> {
    reader: &'r mut Reader,
    parameters: Vec<String>,
    bound: Vec<(String, TableId)>,
    operations: Vec<Operation>,
}

impl<'r> Body<'r> {
    const fn new(reader: &'r mut Reader) -> Self {
        Self {
            reader,
            parameters: Vec::new(),
            bound: Vec::new(),
            operations: Vec::new(),
        }
    }

    fn operation(&mut self, node: Node<'_>) -> Result<()> {
        let mut section = node.section("an operation")?;
        let operation = if let Some(text) = section.maybe("unknown") {
            Operation::Unknown(text.word()?.text.to_owned())
        } else if let Some(table) = section.maybe("insert") {
            self.insert(table.word()?, &mut section)?
        } else if let Some(table) = section.maybe("update") {
            let table = self.reader.table(table.word()?)?;
            let changes = self.changes(table, &mut section)?;
            let rows = self.selection(table, &mut section)?;
            Operation::Update {
                table,
                rows,
                changes,
            }
        } else if let Some(table) = section.maybe("delete") {
            let table = self.reader.table(table.word()?)?;
            let cascade = section.maybe("cascade").map(Node::boolean).transpose()?;
            let rows = self.selection(table, &mut section)?;
            let cascade = cascade.unwrap_or(false);
            Operation::Delete {
                table,
                rows,
                cascade,
            }
        } else if let Some(table) = section.maybe("read") {
            let table = self.reader.table(table.word()?)?;
            self.read(table, &mut section)?
        } else {
            let entries = section.entries();
            let keys: Vec<&str> = entries.iter().map(|(key, _)| key.text).collect();
            return wrong(
                section.line,
                format!(
                    "`{{ {} }}` is no operation; there is insert, update, delete, read and unknown",
                    keys.join(", ")
                ),
            );
        };
        section.finish()?;
        self.operations.push(operation);
        Ok(())
    }

    fn read(&mut self, table: TableId, section: &mut Section<'_>) -> Result<Operation> {
        let columns = match section.maybe("columns") {
            None => (0..)
                .take(self.reader.schema.table(table).columns.len())
                .collect(),
            Some(names) => {
                let names = names.words()?.into_iter();
                let columns = names.map(|name| self.reader.column(table, name));
                columns.collect::<Result<_>>()?
            }
        };
        let rows = self.selection(table, section)?;
        Ok(Operation::Read {
            table,
            rows,
            columns,
        })
    }

    fn insert(&mut self, name: Word<'_>, section: &mut Section<'_>) -> Result<Operation> {
        let table = self.reader.table(name)?;
        let mut values = Vec::new();
        for (name, node) in section.must("values")?.section("values")?.entries() {
            let kinds = [Kind::Plain, Kind::Counter];
            let id = self.reader.column_of_kind(table, name, &kinds)?;
            let source = if self.reader.schema.column(id).kind == Kind::Counter {
                self.amount(table, node)?
            } else {
                self.source(id, node)?
            };
            values.push((id.column, source));
        }
        let its = self.reader.schema.table(table);
        let given = |column: &u8| values.iter().any(|(known, _)| known == column);
        let by = match its.home {
            Some(Home::By(column, _)) => Some(column),
            Some(Home::Site(_)) | None => None,
        };
        let missing = by.into_iter().chain(its.key).find(|it| !given(it));
        if let Some(missing) = missing {
            let missing = &its.columns[usize::from(missing)].name;
            return name.wrong(format!(
                "a row of {} needs a value for `{missing}`, its key or partition",
                its.name
            ));
        }
        let bind = section.maybe("as").map(Node::word).transpose()?;
        let bind = bind.map(|name| self.bind(name, table)).transpose()?;
        Ok(Operation::Insert {
            table,
            values,
            bind,
        })
    }

    fn changes(&mut self, table: TableId, section: &mut Section<'_>) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for (key, how, kind) in [
            ("assign", How::Assign, Kind::Plain),
            ("increment", How::Increment, Kind::Counter),
            ("decrement", How::Decrement, Kind::Counter),
            ("add", How::Add, Kind::Set),
            ("remove", How::Remove, Kind::Set),
        ] {
            let Some(node) = section.maybe(key) else {
                continue;
            };
            for (name, node) in node.section("a change")?.entries() {
                let id = self.reader.column_of_kind(table, name, &[kind])?;
                let source = match kind {
                    Kind::Counter => self.amount(table, node)?,
                    Kind::Plain | Kind::Set => self.source(id, node)?,
                };
                let column = id.column;
                changes.push(Change {
                    column,
                    how,
                    source,
                });
            }
        }
        if changes.is_empty() {
            return wrong(
                section.line,
                "an update needs `assign`, `increment`, `decrement`, `add` or `remove`",
            );
        }
        Ok(changes)
    }

    fn selection(&mut self, table: TableId, section: &mut Section<'_>) -> Result<Selection> {
        let mut filter = Vec::new();
        if let Some(node) = section.maybe("where") {
            for (name, node) in node.section("a condition")?.entries() {
                let id = self.reader.column_of_kind(table, name, &[Kind::Plain])?;
                filter.push((id.column, self.source(id, node)?));
            }
        }
        let mut own = false;
        if let Some(node) = section.maybe("rows") {
            let rows = node.word()?;
            own = rows.among("choice of rows", ["any", "own"].into_iter())? == 1;
            if own {
                let by = self.partition(table, rows)?;
                filter.push((by, self.own(ColumnId { table, column: by })));
            }
        }
        let pick = section.maybe("pick").map(Node::word).transpose()?;
        let pick = match pick.map(|it| (it, it.text.split_once(' '))) {
            None => Pick::All,
            Some((word, None)) if word.text == "all" => Pick::All,
            Some((word, None)) if word.text == "one" => {
                Pick::One(self.fresh(format!("which row (line {})", word.line)))
            }
            Some((word, Some(("lowest", name)))) => {
                let line = word.line;
                let name = Word { text: name, line };
                let id = self.reader.column_of_kind(table, name, &[Kind::Plain])?;
                Pick::Lowest(id.column)
            }
            Some((word, _)) => {
                return word.wrong("pick \"all\", \"one\" or \"lowest COLUMN\"");
            }
        };
        let bind = section.maybe("as").map(Node::word).transpose()?;
        let bind = bind.map(|name| self.bind(name, table)).transpose()?;
        Ok(Selection {
            own,
            filter,
            pick,
            bind,
        })
    }

    fn bind(&mut self, name: Word<'_>, table: TableId) -> Result<u8> {
        if self.bound.iter().any(|(known, _)| known == name.text) {
            return name.wrong(format!("there are two rows `{}`", name.text));
        }
        self.bound.push((name.text.to_owned(), table));
        Ok(u8::try_from(self.bound.len() - 1).unwrap_or(u8::MAX))
    }

    /// The column that a table is partitioned by.
    fn partition(&self, table: TableId, place: Word<'_>) -> Result<u8> {
        let table = self.reader.schema.table(table);
        match &table.home {
            Some(Home::By(column, _)) => Ok(*column),
            Some(Home::Site(_)) | None => place.wrong(format!(
                "table {} is not partitioned; add `lives = {{ by = \"column\" }}` to it",
                table.name
            )),
        }
    }

    /// The transaction's own partition, or own value of another column: the same wherever the name is.
    fn own(&mut self, id: ColumnId) -> Source {
        let schema = &self.reader.schema;
        let name = match &schema.table(id.table).home {
            Some(Home::By(column, name)) if *column == id.column => name,
            Some(_) | None => &schema.column(id).name,
        };
        let name = format!("own {name}");
        Source::Own(self.parameter(&name))
    }

    /// The number of a parameter; all mentions of a name are the same.
    fn parameter(&mut self, name: &str) -> u8 {
        let known = self.parameters.iter().position(|it| it == name);
        let place = known.unwrap_or_else(|| {
            self.parameters.push(name.to_owned());
            self.parameters.len() - 1
        });
        u8::try_from(place).unwrap_or(u8::MAX)
    }

    fn fresh(&mut self, name: String) -> u8 {
        self.parameters.push(name);
        u8::try_from(self.parameters.len() - 1).unwrap_or(u8::MAX)
    }

    fn amount(&mut self, table: TableId, node: Node<'_>) -> Result<Source> {
        let name = self.reader.schema.table(table).name.clone();
        let source = match node.number() {
            Some(number) if number < 1 => {
                return wrong(node.line, "an amount is 1 or more; use the other direction");
            }
            Some(_) => Source::Constant(self.reader.constant(node)?),
            None => self
                .reference(node.word()?, "amount")?
                .unwrap_or(Source::Unique),
        };
        if source == Source::Unique {
            return wrong(
                node.line,
                format!(
                    "a counter of {name} takes a number, \"given\", \"$name\" or \"row.column\""
                ),
            );
        }
        Ok(source)
    }

    /// A parameter or a column of a bound row.
    fn reference(&mut self, word: Word<'_>, column: &str) -> Result<Option<Source>> {
        if let Some(name) = word.text.strip_prefix('$') {
            return Ok(Some(Source::Given(self.parameter(name))));
        }
        if word.text == "given" {
            let name = format!("{column} of line {}", word.line);
            return Ok(Some(Source::Given(self.fresh(name))));
        }
        let Some((row, column)) = word.text.split_once('.') else {
            return Ok(None);
        };
        let line = word.line;
        let names = self.bound.iter().map(|(name, _)| name.as_str());
        let row = Word { text: row, line }.among("row", names)?;
        let table = self.bound[usize::from(row)].1;
        let name = Word { text: column, line };
        let kinds = [Kind::Plain, Kind::Counter];
        let column = self.reader.column_of_kind(table, name, &kinds)?.column;
        Ok(Some(Source::Bound(row, column)))
    }

    fn source(&mut self, id: ColumnId, node: Node<'_>) -> Result<Source> {
        if node.number().is_some() {
            return Ok(Source::Constant(self.reader.constant(node)?));
        }
        if node.is_section() {
            let mut section = node.section("a constant")?;
            let value = self.reader.constant(section.must("value")?)?;
            section.finish()?;
            return Ok(Source::Constant(value));
        }
        let word = node.word()?;
        let schema = &self.reader.schema;
        let column = schema.column(id).name.clone();
        match word.text {
            "null" => return Ok(Source::Constant(None)),
            "unique" => return Ok(Source::Unique),
            "own" => return Ok(self.own(id)),
            "next" if schema.groups(id).is_some() => return Ok(Source::Next),
            "next" => {
                return word.wrong(format!(
                    "no invariant says that `{column}` is sequential; add one, or take \"unique\""
                ));
            }
            "computed" if schema.view(id).is_some() => return Ok(Source::Computed),
            "computed" => {
                return word.wrong(format!("no invariant says what view `{column}` is"));
            }
            _ => {}
        }
        if let Some(source) = self.reference(word, &column)? {
            return Ok(source);
        }
        let known = ["given", "unique", "next", "own", "computed", "null"];
        let constant = format!(
            "source of values (a constant is {{ value = \"{}\" }})",
            word.text
        );
        word.among(&constant, known.into_iter())?;
        Ok(Source::Constant(None))
    }
}
