//! From the text of an application to its [`Schema`].

use toml::de::DeTable;

use super::document::{InputError, Lines, Node, Result, Section, Word, wrong};
use super::linear::{comparison, linear, sign};
use super::operations::types;
use super::schema::{
    Aggregate, Column, ColumnId, Filter, GREATEST, Home, Invariant, Kind, NullWhile, Rule, Schema,
    Table, TableId, Value, View, WORDS,
};

/// Reads an application.
pub(super) fn resolve(text: &str) -> std::result::Result<Schema, InputError> {
    let lines = Lines(text);
    let table = DeTable::parse(text).map_err(|error| lines.syntax(&error))?;
    let mut root = Section::root(&table, lines);
    let mut reader = Reader::new(root.must("application")?.word()?.text);
    reader.tables(root.must("tables")?)?;
    if let Some(invariants) = root.maybe("invariants") {
        for invariant in invariants.list()? {
            reader.invariant(invariant)?;
        }
    }
    let types = types(&mut reader, root.must("transactions")?)?;
    root.finish()?;
    let mut schema = reader.schema;
    schema.types = types;
    Ok(schema)
}

/// What has been read so far.
pub(super) struct Reader {
    pub(super) schema: Schema,
}

impl Reader {
    fn new(name: &str) -> Self {
        let (tables, words) = (Vec::new(), Vec::new());
        let (invariants, types) = (Vec::new(), Vec::new());
        Self {
            schema: Schema {
                name: name.to_owned(),
                tables,
                words,
                invariants,
                types,
            },
        }
    }

    fn tables(&mut self, node: Node<'_>) -> Result<()> {
        let entries = node.section("the tables")?.entries();
        if entries.len() > 64 {
            return wrong(node.line, "an application has at most 64 tables");
        }
        for (name, node) in entries {
            let table = table(name, node)?;
            if let Some(key) = table.key {
                let column = &table.columns[usize::from(key)].name;
                let id = u8::try_from(self.schema.tables.len()).expect("at most 64 tables");
                self.schema.invariants.push(Invariant {
                    name: format!("{}.{column} is a key", table.name),
                    rule: Rule::Unique {
                        table: id,
                        columns: vec![key],
                    },
                });
            }
            self.schema.tables.push(table);
        }
        Ok(())
    }

    pub(super) fn table(&self, name: Word<'_>) -> Result<TableId> {
        let names = self.schema.tables.iter().map(|it| it.name.as_str());
        name.among("table", names)
    }

    pub(super) fn column(&self, table: TableId, name: Word<'_>) -> Result<u8> {
        let table = self.schema.table(table);
        let names = table.columns.iter().map(|it| it.name.as_str());
        name.among(&format!("column of {}", table.name), names)
    }

    /// A column that must be of this kind.
    pub(super) fn column_of_kind(
        &self,
        table: TableId,
        name: Word<'_>,
        kinds: &[Kind],
    ) -> Result<ColumnId> {
        let column = self.column(table, name)?;
        let id = ColumnId { table, column };
        let kind = self.schema.column(id).kind;
        if kinds.contains(&kind) {
            return Ok(id);
        }
        name.wrong(match kind {
            Kind::Plain => format!(
                "`{}` is a plain column: it is assigned, and neither counted nor added to; list it under \
                 `counters` or `sets` for that",
                name.text
            ),
            Kind::Counter => format!(
                "`{}` is a counter, which is incremented and decremented only",
                name.text
            ),
            Kind::Set => format!("`{}` is a set, which is added to and removed from", name.text),
        })
    }

    fn columns(&self, table: TableId, node: Node<'_>, kinds: &[Kind]) -> Result<Vec<u8>> {
        let names = node.words()?.into_iter();
        let ids = names.map(|name| self.column_of_kind(table, name, kinds));
        ids.map(|id| id.map(|it| it.column)).collect()
    }

    /// A number, a word, or the text "null".
    pub(super) fn constant(&mut self, node: Node<'_>) -> Result<Value> {
        if let Some(number) = node.number() {
            if number.abs() > GREATEST {
                return wrong(node.line, format!("numbers are at most {GREATEST} here"));
            }
            return Ok(Some(number));
        }
        let word = node.word()?.text;
        if word == "null" {
            return Ok(None);
        }
        let words = &mut self.schema.words;
        let place = words.iter().position(|known| known == word);
        let place = place.unwrap_or_else(|| {
            words.push(word.to_owned());
            words.len() - 1
        });
        let place = i64::try_from(place).expect("a text has fewer words");
        Ok(Some(WORDS + place))
    }

    fn known(&mut self, node: Node<'_>) -> Result<i64> {
        let value = self.constant(node)?;
        value.map_or_else(
            || wrong(node.line, "null is no value here; use `not-null`"),
            Ok,
        )
    }

    fn invariant(&mut self, node: Node<'_>) -> Result<()> {
        let mut section = node.section("an invariant")?;
        let name = section.maybe("name").map(Node::word).transpose()?;
        let rule = self.rule(&mut section)?;
        section.finish()?;
        let name = name.map_or_else(|| self.describe(&rule), |it| it.text.to_owned());
        if self.schema.invariants.iter().any(|it| it.name == name) {
            return wrong(node.line, format!("there are two invariants \"{name}\""));
        }
        self.schema.invariants.push(Invariant { name, rule });
        Ok(())
    }

    fn rule(&mut self, section: &mut Section<'_>) -> Result<Rule> {
        if let Some(custom) = section.maybe("custom") {
            let text = custom.word()?.text.to_owned();
            let tables = section.maybe("tables").map(Node::words).transpose()?;
            let tables = tables.map(|it| it.into_iter().map(|name| self.table(name)).collect());
            let tables = tables.transpose()?;
            return Ok(Rule::Custom { text, tables });
        }
        let kind = section.must("kind")?.word()?;
        let number = kind.among("kind of invariant", KINDS.iter().copied())?;
        let table = self.table(section.must("table")?.word()?)?;
        match KINDS[usize::from(number)] {
            "unique" => Ok(Rule::Unique {
                table,
                columns: self.columns(table, section.must("columns")?, &[Kind::Plain])?,
            }),
            "sequential" => {
                let column = self.one(table, section, &[Kind::Plain])?;
                let per = section.maybe("per");
                let per = per.map(|node| self.columns(table, node, &[Kind::Plain]));
                let per = per.transpose()?.unwrap_or_default();
                Ok(Rule::Sequential { column, per })
            }
            "foreign-key" => {
                let from = self.one(table, section, &[Kind::Plain])?;
                let parent = section.must("references")?.word()?;
                let to = self.key(parent)?;
                Ok(Rule::ForeignKey { from, to })
            }
            "not-null" => Ok(Rule::NotNull(self.one(table, section, &[Kind::Plain])?)),
            "check" => {
                let text = section.must("holds")?.word()?;
                let columns = &self.schema.table(table).columns;
                let linear = linear(text, columns)?;
                let is_set = |(it, _): &(u8, i64)| columns[usize::from(*it)].kind == Kind::Set;
                if linear.terms.iter().any(is_set) {
                    return text.wrong("a set is no number; use `kind = \"size\"`");
                }
                Ok(Rule::Check { table, linear })
            }
            "view" => self.view(table, section),
            "null-while" => self.null_while(table, section),
            "size" => {
                let column = self.one(table, section, &[Kind::Set])?;
                let text = section.must("holds")?.word()?;
                let (left, comparison, right) = comparison(text)?;
                match (left.trim(), right.trim().parse()) {
                    ("size", Ok(size)) => Ok(Rule::Size(column, comparison, size)),
                    _ => text.wrong("write `holds = \"size <= 3\"`"),
                }
            }
            kind => self.of_a_value(kind, table, section),
        }
    }

    fn of_a_value(
        &mut self,
        kind: &str,
        table: TableId,
        section: &mut Section<'_>,
    ) -> Result<Rule> {
        let is_of_set = kind.ends_with("contains");
        let kinds: &[Kind] = if is_of_set {
            &[Kind::Set]
        } else {
            &[Kind::Plain]
        };
        let column = self.one(table, section, kinds)?;
        let value = self.known(section.must("value")?)?;
        Ok(match kind {
            "equal" => Rule::Equal(column, value),
            "not-equal" => Rule::NotEqual(column, value),
            "contains" => Rule::Contains(column, value),
            _ => Rule::NotContains(column, value),
        })
    }

    fn one(&self, table: TableId, section: &mut Section<'_>, kinds: &[Kind]) -> Result<ColumnId> {
        self.column_of_kind(table, section.must("column")?.word()?, kinds)
    }

    fn key(&self, table: Word<'_>) -> Result<ColumnId> {
        let id = self.table(table)?;
        match self.schema.table(id).key {
            Some(column) => Ok(ColumnId { table: id, column }),
            None => table.wrong(format!("table {} needs a `key = ...` for that", table.text)),
        }
    }

    fn view(&mut self, table: TableId, section: &mut Section<'_>) -> Result<Rule> {
        let column = self.one(table, section, &[Kind::Plain, Kind::Counter])?;
        let key = self.own_key(table, section)?;
        let equals = section.must("equals")?.word()?;
        let (of, by) = self.rows_of(section)?;
        let aggregate = match equals.text.split_once(' ') {
            None if equals.text == "count" => Aggregate::Count,
            Some(("sum", name)) => Aggregate::Sum(self.summand(of, name, equals.line)?),
            Some(("max", name)) => Aggregate::Max(self.summand(of, name, equals.line)?),
            Some(_) | None => {
                return equals.wrong("a view equals \"count\", \"sum COLUMN\" or \"max COLUMN\"");
            }
        };
        let mut only = Vec::new();
        if let Some(node) = section.maybe("only") {
            for (name, value) in node.section("a condition")?.entries() {
                let column = self.column_of_kind(of, name, &[Kind::Plain])?.column;
                let filter = match value.word() {
                    Ok(word) if word.text == "not null" => Filter::NotNull,
                    Ok(_) | Err(_) => Filter::Is(self.constant(value)?),
                };
                only.push((column, filter));
            }
        }
        Ok(Rule::View(View {
            column,
            key,
            aggregate,
            of,
            by,
            only,
        }))
    }

    fn null_while(&self, table: TableId, section: &mut Section<'_>) -> Result<Rule> {
        let column = self.one(table, section, &[Kind::Plain])?;
        let key = self.own_key(table, section)?;
        let (of, by) = self.rows_of(section)?;
        let too = section.maybe("null").map(Node::word).transpose()?;
        let too = too.map(|name| self.column_of_kind(of, name, &[Kind::Plain]));
        Ok(Rule::NullWhile(NullWhile {
            column,
            key,
            of,
            by,
            too: too.transpose()?.map(|it| it.column),
        }))
    }

    /// The key of the table that an invariant is of.
    fn own_key(&self, table: TableId, section: &Section<'_>) -> Result<u8> {
        let name = Word {
            text: &self.schema.table(table).name,
            line: section.line,
        };
        self.key(name).map(|it| it.column)
    }

    /// The table whose rows belong to those of another, and the column by which they do.
    fn rows_of(&self, section: &mut Section<'_>) -> Result<(TableId, u8)> {
        let of = self.table(section.must("of")?.word()?)?;
        let by = self.column_of_kind(of, section.must("by")?.word()?, &[Kind::Plain])?;
        Ok((of, by.column))
    }

    fn summand(&self, of: TableId, text: &str, line: usize) -> Result<u8> {
        let name = Word { text, line };
        let id = self.column_of_kind(of, name, &[Kind::Plain, Kind::Counter])?;
        Ok(id.column)
    }

    fn describe(&self, rule: &Rule) -> String {
        let schema = &self.schema;
        let name = |id: &ColumnId| {
            let table = &schema.table(id.table).name;
            format!("{table}.{}", schema.column(*id).name)
        };
        let list = |table: TableId, columns: &[u8]| {
            let columns = columns.iter().map(|column| ColumnId {
                table,
                column: *column,
            });
            let names: Vec<String> = columns.map(|it| name(&it)).collect();
            names.join(", ")
        };
        let shown = |value: &i64| schema.show(Some(*value));
        match rule {
            Rule::Unique { table, columns } => format!("unique {}", list(*table, columns)),
            Rule::Sequential { column, per } if per.is_empty() => {
                format!("sequential {}", name(column))
            }
            Rule::Sequential { column, per } => {
                let per = list(column.table, per);
                format!("sequential {} per {per}", name(column))
            }
            Rule::ForeignKey { from, to } => format!("{} references {}", name(from), name(to)),
            Rule::NotNull(column) => format!("{} is not null", name(column)),
            Rule::Equal(column, value) => format!("{} is {}", name(column), shown(value)),
            Rule::NotEqual(column, value) => format!("{} is never {}", name(column), shown(value)),
            Rule::Check { table, linear } => {
                let terms = linear.terms.iter().map(|(column, factor)| {
                    let column = list(*table, &[*column]);
                    if *factor == 1 {
                        column
                    } else {
                        format!("{factor} * {column}")
                    }
                });
                let terms: Vec<String> = terms.collect();
                let (sign, bound) = (sign(linear.comparison), linear.bound);
                format!("{} {sign} {bound}", terms.join(" + "))
            }
            Rule::View(view) => format!("{} is up to date", name(&view.column)),
            Rule::NullWhile(rule) => {
                let table = rule.of;
                let (column, of) = (name(&rule.column), &schema.table(table).name);
                match rule.too {
                    Some(too) => format!("{column} is null while {} is", list(table, &[too])),
                    None => format!("{column} is null while {of} has its row"),
                }
            }
            Rule::Contains(column, value) => format!("{} contains {}", name(column), shown(value)),
            Rule::NotContains(column, value) => {
                format!("{} never contains {}", name(column), shown(value))
            }
            Rule::Size(column, ..) => format!("a bound on the size of {}", name(column)),
            Rule::Custom { text, .. } => text.clone(),
        }
    }
}

const KINDS: [&str; 12] = [
    "unique",
    "sequential",
    "foreign-key",
    "not-null",
    "equal",
    "not-equal",
    "check",
    "view",
    "null-while",
    "contains",
    "not-contains",
    "size",
];

fn table(name: Word<'_>, node: Node<'_>) -> Result<Table> {
    let mut section = node.section("a table")?;
    let mut columns: Vec<Column> = Vec::new();
    for (key, kind) in [
        ("columns", Kind::Plain),
        ("counters", Kind::Counter),
        ("sets", Kind::Set),
    ] {
        let names = section.maybe(key).map(Node::words).transpose()?;
        for word in names.unwrap_or_default() {
            if columns.iter().any(|it| it.name == word.text) {
                return word.wrong(format!("column `{}` is there twice", word.text));
            }
            let name = word.text.to_owned();
            columns.push(Column { name, kind });
        }
    }
    if columns.len() > 64 {
        return wrong(section.line, "a table has at most 64 columns");
    }
    let names = || columns.iter().map(|it| it.name.as_str());
    let plain = |word: Word<'_>| -> Result<u8> {
        let place = word.among("column", names())?;
        if columns[usize::from(place)].kind != Kind::Plain {
            return word.wrong(format!("`{}` must be one of `columns`", word.text));
        }
        Ok(place)
    };
    let key = section.maybe("key").map(Node::word).transpose()?;
    let key = key.map(plain).transpose()?;
    let mut home = None;
    if let Some(node) = section.maybe("lives") {
        let mut lives = node.section("`lives`")?;
        let site = lives.maybe("site").map(Node::word).transpose()?;
        let by = lives.maybe("by").map(Node::word).transpose()?;
        home = Some(match (site, by) {
            (Some(site), None) => Home::Site(site.text.to_owned()),
            (None, Some(by)) => {
                let name = lives.maybe("as").map(Node::word).transpose()?;
                let name = name.map_or(by.text, |it| it.text).to_owned();
                Home::By(plain(by)?, name)
            }
            _ => {
                return wrong(
                    node.line,
                    "write `{ site = \"...\" }` or `{ by = \"column\" }`",
                );
            }
        });
        lives.finish()?;
    }
    section.finish()?;
    Ok(Table {
        name: name.text.to_owned(),
        columns,
        key,
        home,
    })
}
