//! Foreign keys: every employee's department is there.

use std::fmt;

use super::super::application::ReplicaId;
use super::super::catalogue::{About, Claim, Visitor};
use super::super::lattice::{Both, Grow, Rows, Versioned};
use super::super::model::Model;

/// An employee, and the department that the row references.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Employee {
    name: &'static str,
    department: u8,
}

impl fmt::Display for Employee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in department {}", self.name, self.department)
    }
}

/// A department.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Department(u8);

impl fmt::Display for Department {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "department {}", self.0)
    }
}

type Departments = Rows<Versioned<Department>>;
type Employees = Rows<Versioned<Employee>>;
type Company = Both<Departments, Employees>;

pub(super) fn visit(visitor: &mut impl Visitor) {
    let modelled = "departments and employees as versions; a delete leaves tombstones";
    let row = |operation, claim| About::sql("foreign key", operation, claim, modelled);
    visitor.visit(
        &row("insert", Claim::Confluent),
        &inserts().explained(dangling),
    );
    let delete = inserts().update("delete department 1", |Both(departments, _), _| {
        departments.delete_if(|row| row.content.0 == 1);
    });
    visitor.visit(
        &row("delete", Claim::NotConfluent),
        &delete.explained(dangling),
    );
    let cascading = About::sql(
        "foreign key",
        "cascading delete",
        Claim::Confluent,
        "the deletion of a department is itself a version, and deletes every employee whose row references \
         the department, also one that a merge brings later",
    );
    visitor.visit(&cascading, &cascade_in_merge());
    let seen_only = cascading.but(
        "a cascading delete deletes the department and the employees that the deleting replica sees: one who \
         is inserted elsewhere meanwhile is left without a department",
    );
    let cascade = inserts().update("delete department 1, cascading", |state, _| {
        let Both(departments, employees) = state;
        departments.delete_if(|row| row.content.0 == 1);
        employees.delete_if(|row| row.content.department == 1);
    });
    visitor.visit(&seen_only, &cascade.explained(dangling));
}

fn hire(name: &'static str, department: u8) -> impl Fn(&mut Company, ReplicaId) {
    move |Both(_, employees), at| {
        employees.write(Employee { name, department }, at);
    }
}

/// Department 1 is there, department 2 can be made; employees come to both.
fn inserts() -> Model<Company> {
    let mut start = Both(Departments::default(), Employees::default());
    start.0.write(Department(1), ReplicaId::INITIAL);
    Model::new(start)
        .update("insert department 2", |Both(departments, _), at| {
            departments.write(Department(2), at);
        })
        .update("insert Stan into department 1", hire("Stan", 1))
        .update("insert Mary into department 2", hire("Mary", 2))
}

fn dangling(Both(departments, employees): &Company) -> Option<String> {
    let lost = |row: &&Employee| departments.contents().all(|it| it.0 != row.department);
    employees.contents().find(lost).map(says_dangling)
}

fn says_dangling(employee: &Employee) -> String {
    let Employee { name, department } = employee;
    format!(
        "an employee's department exists does not hold: {name} is in department {department}, which is not there"
    )
}

/// A company, and the departments that were deleted, cascading: what references them is deleted, too.
type Cascading = Both<Company, Grow<u8>>;

/// As [`inserts`], but a deletion reaches the rows that come later.
fn cascade_in_merge() -> Model<Cascading> {
    let mut start = Cascading::default();
    start.0.0.write(Department(1), ReplicaId::INITIAL);
    let hire = |name, department| {
        let hire = hire(name, department);
        unless_deleted(department, move |company, at| hire(company, at))
    };
    let delete = |department| move |state: &mut Cascading, _| state.1.insert(department);
    Model::new(start)
        .transaction(
            "insert department 2",
            unless_deleted(2, |Both(departments, _), at| {
                departments.write(Department(2), at);
            }),
        )
        .transaction("insert Stan into department 1", hire("Stan", 1))
        .transaction("insert Mary into department 2", hire("Mary", 2))
        .update("delete department 1, cascading", delete(1))
        .update("delete department 2, cascading", delete(2))
        .explained(|Both(Both(departments, employees), deleted)| {
            let there = employees
                .contents()
                .filter(|row| !deleted.contains(&row.department));
            let mut lost =
                there.filter(|row| departments.contents().all(|it| it.0 != row.department));
            lost.next().map(says_dangling)
        })
}

/// A transaction that aborts itself if it sees that the department was deleted.
fn unless_deleted(
    department: u8,
    body: impl Fn(&mut Company, ReplicaId),
) -> impl Fn(&Cascading, ReplicaId) -> Option<Cascading> {
    move |state, at| {
        let mut next = state.clone();
        body(&mut next.0, at);
        (!state.1.contains(&department)).then_some(next)
    }
}
