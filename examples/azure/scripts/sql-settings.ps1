# The memory that SQL Server may take, in MB; the rest is for Windows.
param([int] $MaxMemoryMB = 4096)
$statement = "EXEC sp_configure 'show advanced options', 1; RECONFIGURE; " +
    "EXEC sp_configure 'max server memory (MB)', $MaxMemoryMB; RECONFIGURE;"
Invoke-Sqlcmd -ServerInstance . -Query $statement
