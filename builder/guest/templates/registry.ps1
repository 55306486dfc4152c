# Values of the registry, in its 64-bit view. A name of '' is the key's default value.
function Open-Hive([string]$Hive) {
    [Microsoft.Win32.RegistryKey]::OpenBaseKey($Hive, [Microsoft.Win32.RegistryView]::Registry64)
}

function Set-BuildValue([string]$Hive, [string]$Key, [string]$Name, [string]$Type, $Value) {
    $opened = (Open-Hive -Hive $Hive).CreateSubKey($Key)
    $opened.SetValue($Name, $Value, [Microsoft.Win32.RegistryValueKind]$Type)
    $opened.Close()
    Write-Output "set $Hive\$Key $Name"
}

function Remove-BuildValue([string]$Hive, [string]$Key, [string]$Name) {
    $opened = (Open-Hive -Hive $Hive).OpenSubKey($Key, $true)
    if ($null -eq $opened) {
        Write-Output "there is no $Hive\$Key"
        return
    }
    $opened.DeleteValue($Name, $false)
    $opened.Close()
    Write-Output "removed $Hive\$Key $Name"
}
